// /products/new: makes the product that the form describes.

import { clearFormProblems, showFormProblem, valuesOf } from "./product_form.js";
import { base, call } from "./tagship.js";

const form = document.getElementById("new-product");

form.addEventListener("submit", async (event) => {
  event.preventDefault();
  clearFormProblems(form);
  const button = form.querySelector("button.primary");
  button.disabled = true;
  try {
    const body = valuesOf(form);
    const chosen = form.querySelector("#image_id").selectedOptions[0];
    const made = await call("POST", "/api/v1/products", { ...body, when_built: chosen?.dataset.waits !== undefined });
    location.assign(`${base}/products/${made.id}`);
  } catch (problem) {
    showFormProblem(problem, form);
  } finally {
    button.disabled = false;
  }
});
