package handlers

import (
	"errors"
	"io"

	"golang.org/x/sync/semaphore"
)

const (
	// bodyBudget is how many bytes of large bodies are in memory at the same
	// time, for all clients together. Points made of them take about twice as
	// much again.
	bodyBudget = 64 << 20

	// freeBody is how much of a body does not count: what a telephone sends is
	// never refused because of what others upload.
	freeBody = 64 << 10

	// shareStep is how much is taken from the budget at a time, in bytes.
	shareStep = 256 << 10
)

// errBudget says that the large bodies of others fill the budget.
var errBudget = errors.New("too many large bodies at once")

// share reads a body and takes from the budget what has arrived, so that a
// client who announces much and sends little holds little.
type share struct {
	budget *semaphore.Weighted
	source io.Reader
	read   int64
	taken  int64
}

// Read implements io.Reader.
func (s *share) Read(p []byte) (int, error) {
	n, err := s.source.Read(p)
	s.read += int64(n)
	for s.read > freeBody+s.taken {
		if !s.budget.TryAcquire(shareStep) {
			return n, errBudget
		}
		s.taken += shareStep
	}
	return n, err
}

// giveBack returns what was taken. It may be called once.
func (s *share) giveBack() { s.budget.Release(s.taken) }
