package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"slices"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/spf13/cobra"

	"tracklane/internal/config"
	"tracklane/internal/lane"
	"tracklane/store"
	"tracklane/tasks"
)

// rejects is what the "rejected" commands work with.
type rejects struct {
	lanes       []*lane.Lane
	pool        *pgxpool.Pool
	points      *store.RejectedPoints
	writer      *store.Writer
	connections *tasks.Connections
	inspector   *tasks.Inspector
}

func newRejectedCommand() *cobra.Command {
	command := &cobra.Command{
		Use: "rejected", Short: "List, show, retry or purge points that the database refused",
		Long: `Points that the database refuses for what they hold are kept in the
dead-letter table, rejected_points, and so are payloads that cannot be read. Once
the cause is gone, "retry" stores them. It also puts tasks back to work that
somebody archived in the web UI.`,
		Args: noArguments,
		RunE: func(c *cobra.Command, _ []string) error { return c.Help() },
	}
	command.AddCommand(newRejectedListCommand(), newRejectedShowCommand(), newRejectedRetryCommand(), newRejectedPurgeCommand())
	return command
}

// withRejects opens what a command needs and closes it again.
func withRejects(work func(context.Context, *rejects, *cobra.Command, []string) error) func(*cobra.Command, []string) error {
	return func(c *cobra.Command, arguments []string) (err error) {
		settings, err := config.Load(os.Environ())
		if err != nil {
			return err
		}
		database, err := settings.DatabasePool()
		if err != nil {
			return err
		}
		redis, err := settings.Redis.Options()
		if err != nil {
			return err
		}
		pool, err := store.Open(database)
		if err != nil {
			return err
		}
		defer pool.Close()
		r := &rejects{
			lanes: lane.All(lane.Options{}), pool: pool, points: store.NewRejectedPoints(pool),
			connections: tasks.Connect(*redis, settings.Redis.MaxConnections),
		}
		defer func() { err = errors.Join(err, r.connections.Close()) }()
		r.writer = store.NewWriter(pool, r.lanes, settings.BatchMaxPoints, nil)
		r.inspector = tasks.NewInspector(r.connections, r.lanes)
		return work(c.Context(), r, c, arguments)
	}
}

func newRejectedListCommand() *cobra.Command {
	var laneName string
	var limit int
	command := &cobra.Command{
		Use: "list", Short: "List rejected points, oldest first", Args: noArguments,
		RunE: withRejects(func(ctx context.Context, r *rejects, c *cobra.Command, _ []string) error {
			list, err := r.points.List(ctx, laneName, 0, limit)
			if err != nil {
				return err
			}
			table := tabwriter.NewWriter(c.OutOrStdout(), 0, 0, 2, ' ', 0)
			fmt.Fprintln(table, "ID\tLANE\tREJECTED AT\tSQLSTATE\tERROR")
			for _, each := range list {
				fmt.Fprintf(table, "%d\t%s\t%s\t%s\t%s\n", each.ID, each.Lane,
					each.RejectedAt.UTC().Format(time.RFC3339), orDash(each.SQLState), each.Error)
			}
			archived, err := r.inspector.Archived(limit)
			if err != nil {
				// The points are worth listing when Redis is away, too.
				fmt.Fprintf(c.ErrOrStderr(), "Archived tasks are not listed: %v\n", err)
			}
			for _, task := range archived {
				fmt.Fprintf(table, "archived\t%s\t%s\t-\ttask %s: %s\n", task.Lane,
					task.FailedAt.UTC().Format(time.RFC3339), task.ID, task.Error)
			}
			return table.Flush()
		}),
	}
	command.Flags().StringVar(&laneName, "lane", "", "only points of this lane")
	command.Flags().IntVar(&limit, "limit", 100, "at most so many")
	return command
}

func newRejectedShowCommand() *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a rejected point with all that is known of it", Args: oneID,
		RunE: withRejects(func(ctx context.Context, r *rejects, c *cobra.Command, arguments []string) error {
			id, err := parseID(arguments[0])
			if err != nil {
				return err
			}
			found, err := r.points.Get(ctx, id)
			if err != nil {
				return err
			}
			received := "-"
			if found.ReceivedAt != nil {
				received = found.ReceivedAt.UTC().Format(time.RFC3339Nano)
			}
			out := c.OutOrStdout()
			fmt.Fprintf(out, "id           %d\nlane         %s\nerror        %s\nsqlstate     %s\ntask         %s\nreceived at  %s\nrejected at  %s\n",
				found.ID, found.Lane, found.Error, orDash(found.SQLState), orDash(found.TaskID), received,
				found.RejectedAt.UTC().Format(time.RFC3339Nano))
			if found.Point != nil {
				fmt.Fprintf(out, "point        %s\n", found.Point)
			}
			if found.Payload != nil {
				fmt.Fprintf(out, "payload\n%s", hex.Dump(found.Payload))
			}
			return nil
		}),
	}
}

func newRejectedRetryCommand() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use: "retry [ID…]", Short: "Store rejected points whose cause is gone", Args: idsOrAll(&all),
		RunE: withRejects(func(ctx context.Context, r *rejects, c *cobra.Command, arguments []string) error {
			list, err := r.named(ctx, arguments)
			if err == nil && all {
				err = r.retryAll(ctx, c)
			}
			if err != nil {
				return err
			}
			return r.retry(ctx, c, list)
		}),
	}
	command.Flags().BoolVar(&all, "all", false, "all rejected points, and all archived tasks")
	return command
}

func newRejectedPurgeCommand() *cobra.Command {
	var all bool
	command := &cobra.Command{
		Use: "purge [ID…]", Short: "Delete rejected points for good", Args: idsOrAll(&all),
		RunE: withRejects(func(ctx context.Context, r *rejects, c *cobra.Command, arguments []string) error {
			if all {
				n, err := r.points.Purge(ctx, "", time.Now())
				if err != nil {
					return err
				}
				fmt.Fprintf(c.OutOrStdout(), "%d deleted\n", n)
				return nil
			}
			for _, argument := range arguments {
				id, err := parseID(argument)
				if err == nil {
					err = r.points.Delete(ctx, id)
				}
				if err != nil {
					return err
				}
			}
			fmt.Fprintf(c.OutOrStdout(), "%d deleted\n", len(arguments))
			return nil
		}),
	}
	command.Flags().BoolVar(&all, "all", false, "all rejected points")
	return command
}

// named returns the rows whose ids are given.
func (r *rejects) named(ctx context.Context, arguments []string) ([]store.Rejected, error) {
	var list []store.Rejected
	for _, argument := range arguments {
		id, err := parseID(argument)
		if err != nil {
			return nil, err
		}
		found, err := r.points.Get(ctx, id)
		if err != nil {
			return nil, err
		}
		list = append(list, found)
	}
	return list, nil
}

// retryPage is how many rejected points are in memory at the same time.
const retryPage = 500

// retryAll retries what is rejected or archived now. A point of a
// payload that is refused gets a row of its own, so it goes up to the last row
// that is there at the start.
func (r *rejects) retryAll(ctx context.Context, c *cobra.Command) error {
	archived, err := r.inspector.RunArchived()
	if err != nil {
		return err
	}
	if archived > 0 {
		fmt.Fprintf(c.OutOrStdout(), "%d archived tasks put back into their queues\n", archived)
	}
	last, err := r.points.LastID(ctx)
	if err != nil {
		return err
	}
	for after := int64(0); after < last; {
		page, err := r.points.List(ctx, "", after, retryPage)
		if err != nil || len(page) == 0 {
			return err
		}
		after = page[len(page)-1].ID
		page = slices.DeleteFunc(page, func(each store.Rejected) bool { return each.ID > last })
		if err := r.retry(ctx, c, page); err != nil {
			return err
		}
	}
	return nil
}

// retry writes rows again and removes them, but for a point that is refused
// again.
func (r *rejects) retry(ctx context.Context, c *cobra.Command, list []store.Rejected) error {
	var stored, refused, unreadable int
	for _, each := range list {
		points, err := r.read(each)
		if err != nil {
			unreadable++
			fmt.Fprintf(c.ErrOrStderr(), "%d stays: %v\n", each.ID, err)
			continue
		}
		taskID := ""
		if each.TaskID != nil {
			taskID = *each.TaskID
		}
		result, err := r.writer.Write(ctx, points, taskID)
		if err == nil && (each.Point == nil || len(result.Rejected) == 0) {
			err = r.points.Delete(ctx, each.ID)
		}
		if err != nil {
			return err
		}
		stored += result.Inserted + result.Duplicates
		refused += len(result.Rejected)
	}
	if len(list) > 0 {
		fmt.Fprintf(c.OutOrStdout(), "%d points stored, %d refused again, %d unreadable\n", stored, refused, unreadable)
	}
	return nil
}

// read makes points of a row.
func (r *rejects) read(rejected store.Rejected) (*lane.Points, error) {
	for _, l := range r.lanes {
		if l.Name != rejected.Lane {
			continue
		}
		if rejected.Point != nil {
			return lane.UnmarshalPoint(l, rejected.Point)
		}
		return tasks.Decode(l, rejected.Payload)
	}
	return nil, fmt.Errorf("there is no lane %q", rejected.Lane)
}

func parseID(text string) (int64, error) {
	id, err := strconv.ParseInt(text, 10, 64)
	if err != nil {
		return 0, &usageError{fmt.Errorf("%q is not the id of a rejected point", text)}
	}
	return id, nil
}

func oneID(c *cobra.Command, arguments []string) error {
	if err := cobra.ExactArgs(1)(c, arguments); err != nil {
		return &usageError{err}
	}
	return nil
}

// idsOrAll wants ids, or --all in their place.
func idsOrAll(all *bool) cobra.PositionalArgs {
	return func(_ *cobra.Command, arguments []string) error {
		if *all == (len(arguments) > 0) {
			return &usageError{errors.New("name the ids of rejected points, or --all")}
		}
		return nil
	}
}

func orDash(text *string) string {
	if text == nil {
		return "-"
	}
	return *text
}
