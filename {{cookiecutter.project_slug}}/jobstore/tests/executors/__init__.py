"""Tests of executors whose workers are not threads of the scheduler."""
