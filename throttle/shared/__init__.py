"""Pools whose levels live in a store that other processes share: the gate and the pool in front of it, the courier that
does the I/O, and what answers teach.
"""
