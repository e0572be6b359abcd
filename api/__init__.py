"""The HTTP process: reads the store and the run directories, and queues commands. It never imports torch or `ddp`."""
