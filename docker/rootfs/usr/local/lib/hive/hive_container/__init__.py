"""What runs in the container around PostgreSQL and the app. Standard library only.

`image`        what this image is: /etc/hive/image.json and the environment of its programs
`volume`       the data volume: whose it is, its lock, and how an empty one becomes a cluster
`database`     role, database, extensions: made so at each start
`elsewhere`    the database of an app alone: where it is, and the wait for it
`supervision`  supervisord as PID 1, without its waits, that stops when it cannot go on
`own_programs`  the programs that a spec adds
`steadiness`   when a program that ends again and again is given up
`logs`         each program's output: to `docker logs` by name, and rotated on disk
"""
