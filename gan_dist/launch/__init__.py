"""From a job file to a followed Ray job."""
