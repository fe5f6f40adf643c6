"""HTTP: addresses, connections, deadlines, attempts. The only place with httpx, and the only one that connects."""

from __future__ import annotations

import sys

# Where rich and pygments are installed httpx imports its own command line too, twice as long as all the rest of it;
# where that cannot be imported it does without.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
