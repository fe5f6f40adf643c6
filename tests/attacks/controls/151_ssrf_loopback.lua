return orcs.http("GET", "http://attacker.test/public").status == 200 and "CONTROL"
