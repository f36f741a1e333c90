"""The sections of the report page: a function and a template for each."""
