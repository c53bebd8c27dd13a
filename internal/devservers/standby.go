package devservers

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
)

// standbyPoll is how often a standby is asked whether it follows its primary.
const standbyPoll = 50 * time.Millisecond

// becomeSynchronous waits until the server, a standby, receives from its primary,
// and makes commits there wait for it. A server that was promoted is left alone.
func (p *Postgres) becomeSynchronous(ctx context.Context, primary string) error {
	return p.withAdminConn(ctx, func(ctx context.Context, connection *pgx.Conn) error {
		for {
			var standby, streaming bool
			err := connection.QueryRow(ctx, `
				SELECT pg_is_in_recovery(), EXISTS (SELECT FROM pg_stat_wal_receiver WHERE status = 'streaming')`).Scan(&standby, &streaming)
			if err != nil {
				return fmt.Errorf("ask the standby whether it follows its primary: %w", err)
			}
			if !standby {
				return nil
			}
			if streaming {
				break
			}
			select {
			case <-time.After(standbyPoll):
			case <-ctx.Done():
				return fmt.Errorf("wait until the standby follows its primary: %w", ctx.Err())
			}
		}
		return setSynchronousStandbys(ctx, primary, "*")
	})
}

// CommitAlone makes commits on the server wait for no standby, as an operator
// does who has lost it.
func (p *Postgres) CommitAlone(ctx context.Context) error {
	return setSynchronousStandbys(ctx, dsn(p.port, "postgres"), "")
}

// setSynchronousStandbys names the standbys that commits on the server of a URL
// wait for: "*" is any one, empty is none.
func setSynchronousStandbys(ctx context.Context, url, names string) error {
	connection, err := pgx.Connect(ctx, url)
	if err == nil {
		defer connection.Close(ctx)
		_, err = connection.Exec(ctx, "ALTER SYSTEM SET synchronous_standby_names = '"+names+"'")
	}
	if err == nil {
		_, err = connection.Exec(ctx, "SELECT pg_reload_conf()")
	}
	if err != nil {
		return fmt.Errorf("set which standbys commits wait for: %w", err)
	}
	return nil
}

// Promote makes a standby a primary that accepts writes when Promote returns, and
// waits for no standby. Whether the old primary is still there is not its
// concern.
func (p *Postgres) Promote(ctx context.Context) error {
	err := p.withAdminConn(ctx, func(ctx context.Context, connection *pgx.Conn) error {
		var promoted bool
		err := connection.QueryRow(ctx, "SELECT pg_promote(true, 30)").Scan(&promoted)
		if err == nil && !promoted {
			err = errors.New("it is still a standby after 30 s")
		}
		return err
	})
	if err == nil {
		err = p.CommitAlone(ctx)
	}
	return p.wrap("promote", err)
}
