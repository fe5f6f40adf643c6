"""The acts: what a system call does once the gate has let it through. One file or folder per capability."""
