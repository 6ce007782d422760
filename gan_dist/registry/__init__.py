"""From a name in a job to an object: aliases, signatures read from source, the catalog and the JSON Schema."""
