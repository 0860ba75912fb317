"""What l2o keeps of its work to be faster the next time: finished runs and compiled code. All of it can be lost at any time."""
