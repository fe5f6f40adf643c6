"""A loaded script, as Python sees it: `luahost.Vm`, its activations, its children and what comes of them."""
