local t = {}
for i = 1, 50 do t = { t } end
return orcs.json_encode(t) == ("["):rep(50) .. "{}" .. ("]"):rep(50) and "CONTROL"
