"""Small applications that the tests serve."""
