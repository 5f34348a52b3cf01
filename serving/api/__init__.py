"""Request and answer schemas, problems and the OpenAPI document."""
