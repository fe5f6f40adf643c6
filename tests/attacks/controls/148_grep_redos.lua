return (("a"):rep(50) .. "!"):match("^(a+)!$") ~= nil and "CONTROL"
