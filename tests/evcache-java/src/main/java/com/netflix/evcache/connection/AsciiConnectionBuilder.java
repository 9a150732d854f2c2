package com.netflix.evcache.connection;

import com.netflix.evcache.pool.EVCacheClient;
import com.netflix.evcache.util.EVCacheConfig;
import net.spy.memcached.ConnectionFactory;
import net.spy.memcached.OperationFactory;
import net.spy.memcached.protocol.ascii.AsciiOperationFactory;

/**
 * EVCache in ASCII. This release has no switch for it, but lets the application inject how connections are made; all
 * but the operations' encoding is EVCache's own. In this package because its factory is not public.
 */
public final class AsciiConnectionBuilder implements IConnectionBuilder {
    private static final int QUEUE_LENGTH = 16384;
    private static final long QUEUE_BLOCK_MS = 10;

    @Override
    public ConnectionFactory getConnectionFactory(EVCacheClient client) {
        final var timeout =
            EVCacheConfig.getInstance().getDynamicIntProperty(client.getAppName() + ".operation.timeout", 2500);
        return new BaseConnectionFactory(client, QUEUE_LENGTH, timeout, QUEUE_BLOCK_MS) {
            @Override
            public OperationFactory getOperationFactory() {
                return new AsciiOperationFactory();
            }

            /** The optimizer would merge gets into binary ones. */
            @Override
            public boolean shouldOptimize() {
                return false;
            }
        };
    }
}
