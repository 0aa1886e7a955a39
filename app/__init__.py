"""Tagship: push a tag, ship the image.

Folders are the stages in the order in which a tag travels: ``deliveries`` stores what GitHub sent and queues builds,
``builds`` makes images, ``products`` decides who moves, ``rollouts`` changes the Swarm services, ``notices`` tells
people. Each stage has a pure ``model``, a ``store`` with one function per named query and a ``work`` that performs
decisions.
"""
