"""What a script does with the VMs below it, and what it sees of them."""
