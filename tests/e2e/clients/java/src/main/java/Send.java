import com.timgroup.statsd.Event;
import com.timgroup.statsd.NonBlockingStatsDClientBuilder;
import com.timgroup.statsd.ServiceCheck;
import com.timgroup.statsd.StatsDClient;
import java.io.IOException;
import java.io.OutputStream;

/**
 * Sends every kind that Java's DogStatsD client can send: {@code Send udp|aggregated|unix|origin}.
 *
 * <p>Ends when its standard input is closed: closing this client throws away what it still queues,
 * so the test closes the input after it has seen the totals.
 */
public final class Send {
  private static final long STAMP = 1_656_581_400L;

  private Send() {}

  public static void main(String[] arguments) throws IOException {
    try (StatsDClient client = connect(arguments[0])) {
      sendCounters(client);
      sendTheRest(client);
      System.in.transferTo(OutputStream.nullOutputStream());
    }
  }

  private static StatsDClient connect(String mode) {
    NonBlockingStatsDClientBuilder builder =
        new NonBlockingStatsDClientBuilder()
            .prefix("java")
            .constantTags("app:shop")
            .enableTelemetry(false)
            .originDetectionEnabled(false)
            .enableAggregation(mode.equals("aggregated"))
            .aggregationFlushInterval(100)
            .errorHandler(error -> System.err.println("client: " + error));
    if (mode.equals("unix")) {
      builder.address("unixgram://" + System.getenv("STATSD_SOCKET"));
    } else {
      builder.hostname(System.getenv("STATSD_HOST"));
      builder.port(Integer.parseInt(System.getenv("STATSD_UDP_PORT")));
    }
    if (mode.equals("origin")) {
      builder.originDetectionEnabled(true).containerID("abc123");
    }
    return builder.build();
  }

  private static void sendCounters(StatsDClient client) {
    for (int i = 0; i < 30; i++) {
      client.increment("requests", "view:fire");
    }
    client.count("stock", 7);
    client.count("returned", -3);
    client.countWithTimestamp("stamped", 3, STAMP);
    for (int i = 0; i < 400; i++) {
      client.count("sampled", 1, 0.5);
    }
  }

  private static void sendTheRest(StatsDClient client) {
    client.gauge("temperature", 21.5);
    client.gauge("below_zero", -3);
    client.gaugeWithTimestamp("stamped_level", 4, STAMP);
    for (long value = 1; value <= 3; value++) {
      client.histogram("size", value);
      client.distribution("spread", value);
      client.time("latency", value * 10);
    }
    for (String user : new String[] {"alice", "bob", "alice"}) {
      client.recordSetValue("users", user);
    }
    client.recordEvent(Event.builder().withTitle("title").withText("text").build());
    client.serviceCheck(
        ServiceCheck.builder().withName("svc").withStatus(ServiceCheck.Status.OK).build());
  }
}
