"""The other program: zygote, worker loop, cage. Runs in processes that hold no key, network or file."""
