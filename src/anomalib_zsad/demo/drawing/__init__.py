"""Procedural drawing of materials, objects and their defects, with exact masks."""
