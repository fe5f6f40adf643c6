"""What lies beneath the roots of fs.read, fs.write and fs.delete."""
