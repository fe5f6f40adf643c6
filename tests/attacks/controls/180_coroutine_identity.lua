local co, main = coroutine.running()
return main and coroutine.status(co) == "running" and "CONTROL"
