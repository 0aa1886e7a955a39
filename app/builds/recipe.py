from app.repositories.recipe import Recipe as Recipe
