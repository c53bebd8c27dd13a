package store

import (
	"context"
	"sync"
)

// turns bounds how much each of any number of senders does at the same time. Its
// memory is bounded by those who are at work or wait.
type turns struct {
	limit int64 // of each sender; it is not changed while turns are taken

	mu sync.Mutex
	of map[string]*turn
}

// turn is what one sender does.
type turn struct {
	free  chan struct{} // holds one for each that is at work
	users int           // at work or waiting
}

// take waits until a sender may begin, or until ctx ends, whose error it returns
// then. done has to be called at the end of the work.
func (t *turns) take(ctx context.Context, sender string) (done func(), err error) {
	t.mu.Lock()
	if t.of == nil {
		t.of = make(map[string]*turn)
	}
	own := t.of[sender]
	if own == nil {
		own = &turn{free: make(chan struct{}, t.limit)}
		t.of[sender] = own
	}
	own.users++
	t.mu.Unlock()
	leave := func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		if own.users--; own.users == 0 {
			delete(t.of, sender)
		}
	}
	select {
	case own.free <- struct{}{}:
		return func() {
			<-own.free
			leave()
		}, nil
	case <-ctx.Done():
		leave()
		return nil, ctx.Err()
	}
}
