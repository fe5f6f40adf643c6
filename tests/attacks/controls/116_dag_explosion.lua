local t = { 1 }
for i = 1, 8 do t = { t, t } end
return select(2, orcs.json_encode(t):gsub("1", "")) == 256 and "CONTROL"
