"""What goes in and what comes out of the API, one module for each kind of thing."""
