package db

// PreparedRun is one, for its tests.
var PreparedRun = one[Run]
