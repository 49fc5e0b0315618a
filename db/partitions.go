package db

import (
	"context"
	"fmt"
	"time"
)

// Bodies are kept in a partition a day, so that they go by dropping it. What finds no partition goes to the default one.

const (
	bodyTable   = "event_bodies"
	bodyDay     = "20060102"                                                  // of a partition's name
	lockBodies  = "SET LOCAL lock_timeout = '500ms'"                          // everything that comes in waits behind whoever waits for the table
	aloneBodies = "SELECT pg_advisory_xact_lock(hashtext('event_bodies'), 0)" // until the transaction ends
	// to_regclass would answer from a cache, which another's drop has not reached yet.
	isTable = "SELECT EXISTS (SELECT FROM pg_class WHERE relname = ? AND relnamespace = current_schema()::regnamespace)"
)

// inUse are the bodies that somebody still needs, however old: of runs that have not ended, of events not dispatched.
const inUse = `((b.org_id, b.event_id) IN (SELECT org_id, event_id FROM runs WHERE ended_at IS NULL)
	OR (b.org_id, b.event_id) IN (SELECT org_id, id FROM events WHERE due_at IS NOT NULL))`

func bodyPartition(day time.Time) string { return bodyTable + "_" + day.Format(bodyDay) }

func dayOf(t time.Time) time.Time { return t.UTC().Truncate(24 * time.Hour) }

// PartitionBodies makes the partitions of the days from one time to another, as far as they are missing, and those of
// days since kept whose bodies went to the default one. Any number of processes may call it.
func PartitionBodies(ctx context.Context, d *DB, kept, from, to time.Time) error {
	var days []time.Time
	err := d.NewRaw("SELECT DISTINCT date_trunc('day', at) FROM event_bodies_default WHERE at >= ? ORDER BY 1", dayOf(kept).Add(24*time.Hour)).Scan(ctx, &days)
	if err != nil {
		return err
	}
	for day := dayOf(from); !day.After(to); day = day.Add(24 * time.Hour) {
		days = append(days, day)
	}
	for _, day := range days {
		if err := partitionBodies(ctx, d, day.UTC()); err != nil {
			return fmt.Errorf("making the partition of bodies of %s: %w", day.Format(time.DateOnly), err)
		}
	}
	return nil
}

func partitionBodies(ctx context.Context, d *DB, day time.Time) error {
	name, from, to := bodyPartition(day), day.Format(time.DateOnly), day.Add(24*time.Hour).Format(time.DateOnly)
	return d.InTx(ctx, func(ctx context.Context, tx Tx) error {
		var there bool
		if _, err := tx.ExecContext(ctx, aloneBodies); err != nil {
			return err
		}
		if err := tx.NewRaw(isTable, name).Scan(ctx, &there); err != nil || there {
			return err
		}
		for _, sql := range []string{
			lockBodies,
			// All of it, before rows move: none of that day comes in between, and nobody looks for one in the default partition
			// alone because that was all when the look was planned.
			"LOCK TABLE event_bodies IN ACCESS EXCLUSIVE MODE",
			fmt.Sprintf("CREATE TABLE %s (LIKE %s INCLUDING ALL)", name, bodyTable),
			fmt.Sprintf("WITH moved AS (DELETE FROM event_bodies_default WHERE at >= '%s' AND at < '%s' RETURNING *) INSERT INTO %s SELECT * FROM moved", from, to, name),
			fmt.Sprintf("ALTER TABLE %s ATTACH PARTITION %s FOR VALUES FROM ('%s') TO ('%s')", bodyTable, name, from, to),
		} {
			if _, err := tx.ExecContext(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}

// DropBodies removes the bodies of days that ended before a time, but for those that are in use. They go to the default
// partition, and from there once nobody needs them.
func DropBodies(ctx context.Context, d *DB, before time.Time, limit int) error {
	var names []string
	err := d.NewRaw(`SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
		WHERE i.inhparent = ?::regclass AND c.relname ~ '^event_bodies_[0-9]{8}$' AND c.relname < ? ORDER BY 1`, bodyTable, bodyPartition(dayOf(before))).Scan(ctx, &names)
	if err != nil {
		return err
	}
	for _, name := range names {
		if err := dropBodies(ctx, d, name); err != nil {
			return fmt.Errorf("dropping %s: %w", name, err)
		}
	}
	for {
		res, err := d.NewRaw(`DELETE FROM event_bodies_default WHERE ctid IN (
			SELECT b.ctid FROM event_bodies_default b WHERE b.at < ? AND NOT `+inUse+` LIMIT ? FOR UPDATE SKIP LOCKED)`, dayOf(before), limit).Exec(ctx)
		if err != nil || affected(res) < int64(limit) {
			return err
		}
	}
}

func dropBodies(ctx context.Context, d *DB, name string) error {
	return d.InTx(ctx, func(ctx context.Context, tx Tx) error {
		var there bool
		if _, err := tx.ExecContext(ctx, aloneBodies); err != nil {
			return err
		}
		if err := tx.NewRaw(isTable, name).Scan(ctx, &there); err != nil || !there {
			return err
		}
		for _, sql := range []string{
			lockBodies,
			fmt.Sprintf("ALTER TABLE %s DETACH PARTITION %s", bodyTable, name),
			fmt.Sprintf("INSERT INTO event_bodies_default SELECT b.* FROM %s b WHERE %s", name, inUse),
			"DROP TABLE " + name,
		} {
			if _, err := tx.ExecContext(ctx, sql); err != nil {
				return err
			}
		}
		return nil
	})
}
