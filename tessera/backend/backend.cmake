tessera_room(backend DEPS tessera_ops)
