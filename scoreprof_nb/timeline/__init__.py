"""One phase on one clock: requests, threads, batches, compiles and the device, as a Perfetto trace."""
