"""The conversations of a VM, and what a script may do with them."""
