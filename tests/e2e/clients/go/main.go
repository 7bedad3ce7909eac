// Command send sends every kind that datadog-go can send, then exits.
//
// usage: send udp | aggregated | unix | origin
package main

import (
	"fmt"
	"os"
	"time"

	"github.com/DataDog/datadog-go/v5/statsd"
)

func main() {
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(mode string) error {
	address := os.Getenv("STATSD_HOST") + ":" + os.Getenv("STATSD_UDP_PORT")
	options := []statsd.Option{
		statsd.WithNamespace("gopher."),
		statsd.WithTags([]string{"app:shop"}),
		statsd.WithoutTelemetry(),
	}
	switch mode {
	case "udp":
		options = append(options, statsd.WithoutOriginDetection(), statsd.WithoutClientSideAggregation())
	case "aggregated":
		options = append(options, statsd.WithoutOriginDetection(), statsd.WithExtendedClientSideAggregation())
	case "unix":
		address = "unixgram://" + os.Getenv("STATSD_SOCKET")
		options = append(options, statsd.WithoutOriginDetection(), statsd.WithoutClientSideAggregation())
	case "origin":
		// The client adds `|c:` and `|e:` sections, as it does in a pod by default.
		if err := os.Setenv("DD_EXTERNAL_ENV", "it-false,cn-app,pu-1234"); err != nil {
			return err
		}
		options = append(options, statsd.WithContainerID("abc123"), statsd.WithoutClientSideAggregation())
	default:
		return fmt.Errorf("no mode is called %s", mode)
	}
	client, err := statsd.New(address, options...)
	if err != nil {
		return err
	}
	if err := send(client); err != nil {
		return err
	}
	return client.Close()
}

// send sends all kinds, with totals that the tests know.
func send(c *statsd.Client) error {
	stamp := time.Unix(1_656_581_400, 0)
	calls := []error{}
	add := func(err error) { calls = append(calls, err) }
	for range 30 {
		add(c.Incr("requests", []string{"view:fire"}, 1))
	}
	add(c.Count("stock", 7, nil, 1))
	add(c.Count("returned", -3, nil, 1))
	add(c.Gauge("temperature", 21.5, []string{"room:hall"}, 1))
	add(c.Gauge("below_zero", -3.5, nil, 1))
	for _, value := range []float64{1, 2, 3} {
		add(c.Histogram("size", value, nil, 1))
		add(c.Distribution("spread", value, nil, 1))
		add(c.TimeInMilliseconds("latency", value*10, nil, 1))
	}
	add(c.Timing("duration", 1500*time.Millisecond, nil, 1))
	for _, user := range []string{"alice", "bob", "alice"} {
		add(c.Set("users", user, nil, 1))
	}
	for range 400 {
		add(c.Count("sampled", 1, nil, 0.5))
		add(c.Histogram("sampled_size", 1, nil, 0.5))
	}
	add(c.CountWithTimestamp("stamped", 3, nil, 1, stamp))
	add(c.GaugeWithTimestamp("stamped_level", 4, nil, 1, stamp))
	add(c.SimpleEvent("title", "text"))
	add(c.SimpleServiceCheck("svc", statsd.Ok))
	add(c.Incr("odd", []string{"valueless", "col:1:2", "sp: a b"}, 1))
	add(c.Flush())
	for _, err := range calls {
		if err != nil {
			return err
		}
	}
	return nil
}
