"""What is said of problems and optimizers: rows for listings, and the description of one."""
