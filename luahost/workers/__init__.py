"""Worker processes as the host sees them: the zygote, the workers it forks, the watchdog over them."""
