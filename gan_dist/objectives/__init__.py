"""What is optimised, one idea a file. An objective returns terms; the loop does the rest."""
