"""Which errors say that memory is full, whoever raises them; torch's are known without importing it."""


def is_out_of_memory(error: BaseException) -> bool:
    """Whether an error says that there was not enough memory, which torch's allocator says by a plain RuntimeError."""
    if isinstance(error, MemoryError):
        return True
    if not isinstance(error, RuntimeError):
        return False
    return type(error).__name__ == "OutOfMemoryError" or "DefaultCPUAllocator" in str(error)
