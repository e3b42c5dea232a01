import java.io.BufferedOutputStream;
import java.io.IOException;
import java.io.InputStream;
import java.io.OutputStream;
import java.net.InetSocketAddress;
import java.nio.channels.Channel;
import java.nio.channels.Channels;
import java.nio.channels.ClosedChannelException;
import java.nio.channels.ServerSocketChannel;
import java.nio.channels.SocketChannel;
import java.nio.charset.StandardCharsets;
import java.util.Set;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.atomic.AtomicInteger;

/**
 * An application server for `zerottl director`, in Java 17: started by `java Server.java`, without a build.
 *
 * Java takes one listener, and that as its standard input (System.inheritedChannel), so the command of [[director.server]] is
 * ["/bin/sh", "-c", "exec java /path/to/Server.java 0<&3 3<&-"]. It has neither hand-over nor page: Java's library receives no
 * descriptors, and maps no map of BPF. Connections that have waited reach it by the director's relay.
 *
 * GET /            its own name, and the client's address
 * GET /bytes?n=N   N bytes
 * GET /sleep?ms=N  an answer after N milliseconds; others are served meanwhile
 * GET /hold        no answer; the connection stays open until the client closes it
 *
 * Without a director it listens on 127.0.0.1 at the port of its first argument, else at 8080.
 */
public final class Server {
    private static final int HEAD_MAX = 16 * 1024;
    private static final String NAME = System.getenv().getOrDefault("ZEROTTL_SERVER", "by-hand");
    /** Connections that are open. */
    private static final AtomicInteger OPEN = new AtomicInteger();
    /** Those that wait for their next request. */
    private static final Set<SocketChannel> IDLE = ConcurrentHashMap.newKeySet();
    private static volatile boolean stopping;

    public static void main(String[] arguments) throws Exception {
        Channel given = System.inheritedChannel();
        ServerSocketChannel listener;
        if (given instanceof ServerSocketChannel inherited) {
            listener = inherited;
        } else {
            int port = arguments.length > 0 ? Integer.parseInt(arguments[0]) : 8080;
            listener = ServerSocketChannel.open().bind(new InetSocketAddress("127.0.0.1", port));
        }
        ExecutorService connections = Executors.newCachedThreadPool();
        Runtime.getRuntime().addShutdownHook(new Thread(Server::stop));
        while (true) {
            SocketChannel connection;
            try {
                connection = listener.accept();
            } catch (ClosedChannelException closed) {
                return;
            } catch (IOException error) {
                // Such as too many open files: it may pass.
                Thread.sleep(25);
                continue;
            }
            OPEN.incrementAndGet();
            connections.execute(() -> serve(connection));
        }
    }

    /**
     * SIGTERM: nothing new is chosen for this process any more. What is in its queue already, it serves; what it has begun, it
     * finishes, for as long as the director lets it; connections that wait for their next request end.
     */
    private static void stop() {
        try {
            do {
                stopping = true;
                for (SocketChannel connection : IDLE) {
                    connection.close();
                }
                Thread.sleep(25);
            } while (OPEN.get() > 0);
        } catch (IOException | InterruptedException end) {
            return;
        }
    }

    private static void serve(SocketChannel connection) {
        try (connection) {
            InetSocketAddress client = (InetSocketAddress) connection.getRemoteAddress();
            InputStream in = Channels.newInputStream(connection);
            OutputStream out = new BufferedOutputStream(Channels.newOutputStream(connection), 65536);
            for (String head = head(in, connection); head != null; head = head(in, connection)) {
                String target = head.split(" ")[1];
                if (target.startsWith("/hold")) {
                    while (in.read() >= 0) {
                        // Until the client closes it.
                    }
                    return;
                }
                answer(out, target, client);
                out.flush();
                if (stopping) {
                    return;
                }
                IDLE.add(connection);
            }
        } catch (IOException | InterruptedException gone) {
            // A client that goes away is no fault of ours.
        } finally {
            IDLE.remove(connection);
            OPEN.decrementAndGet();
        }
    }

    /** The next request's head, or null at the connection's end. */
    private static String head(InputStream in, SocketChannel connection) throws IOException {
        StringBuilder head = new StringBuilder();
        byte[] one = new byte[1];
        while (head.indexOf("\r\n\r\n", Math.max(0, head.length() - 4)) < 0) {
            if (head.length() >= HEAD_MAX || in.read(one) < 0) {
                return null;
            }
            IDLE.remove(connection);
            head.append((char) one[0]);
        }
        return head.toString();
    }

    private static void answer(OutputStream out, String target, InetSocketAddress client)
            throws IOException, InterruptedException {
        int equals = target.indexOf('=');
        long number = equals < 0 ? 0 : Long.parseLong(target.substring(equals + 1));
        if (target.startsWith("/bytes")) {
            write(out, "HTTP/1.1 200 OK\r\nContent-Length: " + number + "\r\n\r\n");
            byte[] piece = new byte[65536];
            for (long left = number; left > 0; left -= piece.length) {
                out.write(piece, 0, (int) Math.min(left, piece.length));
            }
            return;
        }
        if (target.startsWith("/sleep")) {
            Thread.sleep(number);
        }
        String address = client.getAddress().getHostAddress();
        String text = NAME + " " + (address.contains(":") ? "[" + address + "]" : address) + ":" + client.getPort() + "\n";
        write(out, "HTTP/1.1 200 OK\r\nContent-Length: " + text.length() + "\r\n\r\n" + text);
    }

    private static void write(OutputStream out, String text) throws IOException {
        out.write(text.getBytes(StandardCharsets.ISO_8859_1));
    }
}
