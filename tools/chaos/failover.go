package main

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"slices"
	"time"

	"tracklane/internal/clock"
	"tracklane/internal/devservers"
)

const (
	// failoverTimeout bounds each step of a failover.
	failoverTimeout = 30 * time.Second

	// replicaMaxLag is Redis's min-replicas-max-lag, in seconds.
	replicaMaxLag = "2"

	// silence is how long a Redis may be silent before Sentinel counts it as down.
	silence = time.Second
)

// failOverRedis gives Redis a replica, without which it accepts nothing, keeps the
// replica behind for a time, and kills the master. Sentinel then makes the replica
// the master, and all proxies lead to it. The old master is gone for good.
func (tb *testbed) failOverRedis(ctx context.Context, lag time.Duration) (note string, err error) {
	stream, err := openProxy(tb.Redis.Address())
	if err != nil {
		return "", err
	}
	defer stream.close()
	replica, err := tb.startReplica(ctx, stream.address())
	if err != nil {
		return "", err
	}
	sentinel, err := devservers.StartSentinel(ctx, devservers.SentinelOptions{
		Dir: filepath.Join(tb.Dir, tb.nextName("sentinel")), Master: tb.Redis.Address(), DownAfter: silence,
	})
	if err != nil {
		return "", errors.Join(err, replica.Kill())
	}
	defer func() { err = errors.Join(err, sentinel.Kill()) }()
	clock.Sleep(ctx, copiesAfter)

	stream.set(conditions{HoldToClient: true, HoldToServer: true})
	clock.Sleep(ctx, lag)
	oldDir, dirErr := tb.redisDir(ctx)
	behind, infoErr := tb.replicaLag(ctx)
	if err := errors.Join(dirErr, infoErr, tb.Redis.Kill()); err != nil {
		return "", errors.Join(err, replica.Kill())
	}
	killed := time.Now()
	if err := awaitMaster(ctx, sentinel, replica.Address()); err != nil {
		return "", errors.Join(err, replica.Kill())
	}
	old := tb.Redis
	tb.Redis = replica
	tb.redirect(redisName, replica.Address())
	note = fmt.Sprintf("the replica was %d bytes behind, and the master after %s",
		behind, time.Since(killed).Round(time.Millisecond))
	return note, errors.Join(old.Kill(), os.RemoveAll(oldDir))
}

// startReplica starts a replica of the Redis behind an address, which accepts
// writes from then on only while the replica follows it.
func (tb *testbed) startReplica(ctx context.Context, address string) (*devservers.Redis, error) {
	ctx, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	replica, err := devservers.StartRedis(ctx, devservers.RedisOptions{
		Dir: filepath.Join(tb.RedisDirs, tb.nextName(redisName)), ReplicaOf: address, Arguments: []string{"--appendfsync", tb.appendSync},
	})
	if err != nil {
		return nil, err
	}
	err = replica.AwaitReplication(ctx)
	for _, setting := range [][2]string{{"min-replicas-max-lag", replicaMaxLag}, {"min-replicas-to-write", "1"}} {
		if err == nil {
			err = tb.queues.ConfigSet(ctx, setting[0], setting[1]).Err()
		}
	}
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start a replica: %w", err), replica.Kill())
	}
	return replica, nil
}

// replicaLag is by how many bytes the replica of Redis is behind.
func (tb *testbed) replicaLag(ctx context.Context) (bytes int64, err error) {
	info, err := tb.redisInfo(ctx, "replication")
	if err != nil {
		return 0, err
	}
	offset, err := info.Int("master_repl_offset")
	if err != nil {
		return 0, err
	}
	if acknowledged := info.ReplicaOffsets(); len(acknowledged) > 0 {
		offset -= acknowledged[0]
	}
	return offset, nil
}

// awaitMaster waits until a server is the master.
func awaitMaster(ctx context.Context, sentinel *devservers.Sentinel, address string) error {
	return retryFor(ctx, failoverTimeout, func(ctx context.Context) error {
		master, err := sentinel.Master(ctx)
		if err == nil && master != address {
			err = fmt.Errorf("the master of Sentinel is %s, and not %s", master, address)
		}
		return err
	})
}

// failOverPostgres gives PostgreSQL a synchronous standby, without which it
// commits nothing, kills it a while after, and promotes the standby, to which all
// proxies lead then. The old primary is gone for good.
func (tb *testbed) failOverPostgres(ctx context.Context, follows time.Duration) (note string, err error) {
	start := time.Now()
	standby, err := devservers.StartPostgres(ctx, devservers.PostgresOptions{
		Dir: filepath.Join(tb.Dir, tb.nextName(postgresName)), Durable: true, StandbyOf: tb.Postgres.DSN(),
	})
	if err != nil {
		return "", err
	}
	copied := time.Since(start)
	clock.Sleep(ctx, follows)
	old := tb.Postgres
	if err := old.Kill(); err != nil {
		return "", errors.Join(err, standby.Kill())
	}
	promoting, cancel := context.WithTimeout(ctx, failoverTimeout)
	defer cancel()
	if err := standby.Promote(promoting); err != nil {
		return "", errors.Join(err, standby.Kill())
	}
	address, err := url.Parse(standby.DSN())
	if err != nil {
		return "", fmt.Errorf("read the URL of the standby: %w", err)
	}
	tb.Postgres = standby
	tb.redirect(postgresName, address.Host)
	return fmt.Sprintf("copied in %s", copied.Round(time.Millisecond)), os.RemoveAll(old.Dir())
}

// nextName names the directory of one more server.
func (tb *testbed) nextName(server string) string {
	return fmt.Sprintf("%s-%d", server, tb.servers.Add(1))
}

// redirect lets all proxies to a server lead to another address.
func (tb *testbed) redirect(server, address string) {
	for _, from := range slices.Concat(apiNames, workerNames, []string{harnessName}) {
		tb.proxies[proxyName(from, server)].redirect(address)
	}
}
