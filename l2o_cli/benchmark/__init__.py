"""How fast this machine is: the inner loop and updates (`inner_loop`), a tuning sweep beside that of Keras (`sweep`)."""
