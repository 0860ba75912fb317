"""Pictures of problems: surfaces and the paths of optimizers over them."""
