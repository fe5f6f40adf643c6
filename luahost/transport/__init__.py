"""HTTP: addresses, connections, deadlines, attempts. The only place with httpx, and the only one that connects."""
