package tasks

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/redis/go-redis/v9"

	"tracklane/internal/lane"
)

const (
	// maxRedirects is how many further servers of a cluster one command is sent to:
	// the one that has its slot now, and the one that is getting it. The client also
	// counts a repetition after a failure as one, all within the pool's timeout.
	maxRedirects = 2

	// slotsInterval is how often the client asks a cluster which server has which
	// slots, beside each time that a server fails or says that it has not.
	slotsInterval = 10 * time.Second
)

// newClusterClient makes a pool for each server of a cluster. A command ends after
// the timeout at the latest, whatever servers it was sent to.
func newClusterClient(options redis.UniversalOptions, timeout time.Duration) *redis.ClusterClient {
	own := options.Cluster()
	own.MaxRedirects = maxRedirects
	own.ClusterStateReloadInterval = slotsInterval
	own.DisableRoutingPolicies = true // one command is for one server
	client := redis.NewClusterClient(own)
	client.AddHook(clusterHook{client: client, timeout: timeout})
	return client
}

// clusterHook bounds each command to a cluster, and asks again which server has
// which slots when one could not be reached or cannot serve: the client does so by
// itself only when a server sends it to another.
type clusterHook struct {
	client  *redis.ClusterClient
	timeout time.Duration
}

func (clusterHook) DialHook(next redis.DialHook) redis.DialHook { return next }

func (h clusterHook) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, command redis.Cmder) error {
		bounded, cancel := context.WithTimeout(ctx, h.timeout)
		defer cancel()
		err := next(bounded, command)
		h.observe(ctx, err)
		return err
	}
}

func (h clusterHook) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return func(ctx context.Context, commands []redis.Cmder) error {
		bounded, cancel := context.WithTimeout(ctx, h.timeout)
		defer cancel()
		err := next(bounded, commands)
		for _, command := range commands {
			if h.observe(ctx, command.Err()) {
				break
			}
		}
		return err
	}
}

// observe reports whether an error says that a server failed.
func (h clusterHook) observe(ctx context.Context, err error) bool {
	if !isFailure(err) {
		return false
	}
	h.client.ReloadState(ctx) // it returns at once, and bounds how often it asks
	return true
}

// isFailure reports whether a command failed because Redis could not be reached or
// cannot serve at present.
func isFailure(err error) bool {
	var redisErr redis.Error
	return err != nil && (!errors.As(err, &redisErr) || isTransient(redisErr))
}

// isCluster reports whether a client is that of a cluster.
func isCluster(client redis.UniversalClient) bool {
	_, is := client.(*redis.ClusterClient)
	return is
}

// serverOf returns the client of the server that has a lane's queue, as far as is
// known: of a cluster, the master of the queue's slot. An error is that none is known.
func serverOf(ctx context.Context, client redis.UniversalClient, l *lane.Lane) (*redis.Client, error) {
	switch client := client.(type) {
	case *redis.Client:
		return client, nil
	case *redis.ClusterClient:
		master, err := client.MasterForKey(ctx, pendingKey(l))
		if err != nil {
			return nil, fmt.Errorf("find the Redis server of the queue %s: %w", l.Name, err)
		}
		return master, nil
	default:
		return nil, fmt.Errorf("a client of the type %T has no server of its own", client)
	}
}

// serversOf returns the clients of the servers that have the lanes' queues, each once.
func serversOf(ctx context.Context, client redis.UniversalClient, lanes []*lane.Lane) (servers []*redis.Client, err error) {
	for _, l := range lanes {
		server, err := serverOf(ctx, client, l)
		if err != nil {
			return nil, err
		}
		if !slices.Contains(servers, server) {
			servers = append(servers, server)
		}
	}
	return servers, nil
}

// forEachMaster calls ask for each master of a cluster, at the same time. A part of the
// time that ctx leaves is for the question which servers are masters; what was known
// before holds if nobody answers that.
func forEachMaster(ctx context.Context, client *redis.ClusterClient, ask func(*redis.Client)) error {
	short, cancel := context.WithTimeout(ctx, InspectTimeout/3)
	defer cancel()
	return client.ForEachMaster(short, func(_ context.Context, master *redis.Client) error {
		ask(master)
		return nil
	})
}

// findServers makes the client of a cluster ask which servers have which slots, and
// waits for the response until ctx ends, for a second at the most.
func findServers(ctx context.Context, client *redis.ClusterClient) {
	ctx, cancel := context.WithTimeout(ctx, time.Second)
	defer cancel()
	// Without a response the next command fails as this one did.
	_ = client.ForEachMaster(ctx, func(context.Context, *redis.Client) error { return nil })
}

// slotConnection is one connection to the server that has a lane's queue.
type slotConnection struct {
	*redis.Conn
	cluster *redis.ClusterClient // nil if Redis is none
}

// connect takes a connection of the pool to the server that has a lane's queue.
func connect(ctx context.Context, client redis.UniversalClient, l *lane.Lane) (slotConnection, error) {
	server, err := serverOf(ctx, client, l)
	if err != nil {
		return slotConnection{}, err
	}
	cluster, _ := client.(*redis.ClusterClient)
	return slotConnection{server.Conn(), cluster}, nil
}

// failed is told what a use of the connection returned. After an error the next
// connection is to the server that has the queue then.
func (c slotConnection) failed(ctx context.Context, err error) {
	if err != nil && c.cluster != nil {
		c.cluster.ReloadState(ctx)
	}
}

// confirm returns nil if the server at the other end has the queue; it always has
// where Redis is no cluster. A server that was the master does not know at once that
// it is no longer.
func (c slotConnection) confirm(ctx context.Context, l *lane.Lane) error {
	if c.cluster == nil {
		return nil
	}
	if err := c.Exists(ctx, probeKey(l)).Err(); err != nil {
		return fmt.Errorf("ask Redis for the queue %s: %w", l.Name, err)
	}
	return nil
}
