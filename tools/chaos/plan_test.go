package main

import (
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestMakePlan_FollowsFromSeedAndDuration(t *testing.T) {
	assert.Equal(t, makePlan(5, 10*time.Minute, faultSpecs()), makePlan(5, 10*time.Minute, faultSpecs()))
	assert.NotEqual(t, makePlan(5, 10*time.Minute, faultSpecs()), makePlan(6, 10*time.Minute, faultSpecs()))
}

func TestMakePlan_HalfAnHourHas250FaultsOfEveryKind(t *testing.T) {
	for _, run := range []struct {
		specs []faultSpec
		least int
	}{{faultSpecs(), 255}, {clusterFaultSpecs(), 250}} {
		for seed := range uint64(50) {
			plan := makePlan(seed, 30*time.Minute, run.specs)
			require.GreaterOrEqual(t, len(plan), run.least, "seed %d", seed)
			kinds := make(map[kind]bool)
			for _, f := range plan {
				kinds[f.Kind] = true
			}
			for _, s := range run.specs {
				require.True(t, kinds[s.kind], "seed %d has no %s", seed, s.kind)
			}
		}
	}
}

func TestClusterFaultSpecs_StrikeNothingThatAClusterLacks(t *testing.T) {
	for _, s := range clusterFaultSpecs() {
		assert.NotEmpty(t, s.targets, s.kind)
		for _, name := range s.targets {
			assert.NotContains(t, name, " to "+redisName, s.kind)
		}
		assert.Empty(t, s.also, s.kind)
	}
}

func TestMakePlan_NinetySecondsKillEverySortOfProcess(t *testing.T) {
	for seed := range uint64(50) {
		plan := makePlan(seed, 90*time.Second, faultSpecs())
		require.GreaterOrEqual(t, len(plan), 10, "seed %d", seed)
		var killed []string
		for _, f := range plan[1:5] {
			require.Equal(t, kill, f.Kind)
			killed = append(killed, targetClass(f.Target))
		}
		require.Equal(t, []string{"worker", postgresName, redisName, "api"}, killed)
		for _, f := range plan {
			require.LessOrEqual(t, f.Lasts, shortFault+time.Second)
		}
	}
}

func TestMakePlan_NoTargetHasTwoFaultsAtOnce(t *testing.T) {
	for seed := range uint64(50) {
		over := make(map[string]time.Duration)
		for _, f := range makePlan(seed, 30*time.Minute, faultSpecs()) {
			require.LessOrEqual(t, f.End(), 30*time.Minute)
			for _, struck := range f.Strikes {
				require.GreaterOrEqual(t, f.At, over[struck], "seed %d, %s of %s strikes %s", seed, f.Kind, f.Target, struck)
				over[struck] = f.End() + recovery
			}
			require.LessOrEqual(t, f.End(), 30*time.Minute)
		}
	}
}
