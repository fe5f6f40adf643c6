local t = {}
return orcs.json_encode{ t, t } == "[{},{}]" and "CONTROL"
