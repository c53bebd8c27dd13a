package tracker

// Microseconds is microseconds, for the tests.
var Microseconds = microseconds //nolint:gochecknoglobals // of the tests alone
