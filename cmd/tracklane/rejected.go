package main

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"os"
	"strconv"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"tracklane/internal/config"
	"tracklane/internal/deadletter"
	"tracklane/internal/lane"
	"tracklane/store"
	"tracklane/tasks"
)

// rejects is what the "rejected" commands work with.
type rejects struct {
	points    *store.RejectedPoints
	retrier   *deadletter.Retrier
	inspector *tasks.Inspector
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
		connections := tasks.Connect(*redis, settings.Redis.MaxConnections)
		defer func() { err = errors.Join(err, connections.Close()) }()
		lanes := lane.All(lane.Options{})
		r := &rejects{
			points:    store.NewRejectedPoints(pool),
			retrier:   deadletter.NewRetrier(pool, lanes, store.NewWriter(pool, lanes, settings.BatchMaxPoints, nil)),
			inspector: tasks.NewInspector(connections, lanes),
		}
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
			report := func(result deadletter.Result) { printRetried(c, result) }
			if all {
				archived, err := r.inspector.RunArchived()
				if err != nil {
					return err
				}
				if archived > 0 {
					fmt.Fprintf(c.OutOrStdout(), "%d archived tasks put back into their queues\n", archived)
				}
				return r.retrier.RetryAll(ctx, report)
			}
			var ids []int64
			for _, argument := range arguments {
				id, err := parseID(argument)
				if err != nil {
					return err
				}
				ids = append(ids, id)
			}
			result, err := r.retrier.Retry(ctx, ids...)
			if err == nil {
				report(result)
			}
			return err
		}),
	}
	command.Flags().BoolVar(&all, "all", false, "all rejected points, and all archived tasks")
	return command
}

func printRetried(c *cobra.Command, result deadletter.Result) {
	for _, row := range result.Unreadable {
		fmt.Fprintf(c.ErrOrStderr(), "%d stays: %v\n", row.ID, row.Err)
	}
	fmt.Fprintf(c.OutOrStdout(), "%d points stored, %d refused again, %d unreadable\n",
		result.Stored, result.Refused, len(result.Unreadable))
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
